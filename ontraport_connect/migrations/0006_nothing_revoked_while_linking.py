from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ontraport_connect", "0005_exact_texts"),
    ]

    operations = [
        migrations.AddField(
            model_name="ontraportattempt",
            name="finished_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="ontraportrevocation",
            name="sent_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
