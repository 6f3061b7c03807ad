from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ontraport_connect", "0002_lives_through_rollbacks"),
    ]

    operations = [
        migrations.AddField(
            model_name="ontraportaccount",
            name="last_used_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="last used"),
        ),
        migrations.AddField(
            model_name="ontraportevent",
            name="actor",
            field=models.CharField(blank=True, default="", max_length=200, verbose_name="by"),
        ),
    ]
